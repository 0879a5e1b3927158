"""What the paper says, what theory predicts and what the flow does, in one small table.

    python -m flow.cli.claims NAME

One function for each claim of the ledger (theory/claims.toml) that a short simulation can show. A
function returns `Comparison` rows; the command prints them and ends with 1 where simulation and
prediction are further apart than the row allows.
"""

"""Closed forms and theorems about dW/dt = feature benefit − interference − λ sign(W).

The derivations are in theory/README, the notation in the table at its top. There is one file per
result; every function states its equation, its assumptions and its order of accuracy. Nothing here
simulates, and nothing here imports the simulator:

    sparsification   one encoding on its own: which weight dies when, how fast its ℓ1 norm falls
    universal        the same for wide Gaussian starts: one curve, no constants
    unit_length      reaching unit length, and the time it costs
    equilibrium      where the flow can stop, and whether it stays there
    interference     what the other encodings do, at the start and by symmetry
    collisions       two features on one neuron: benign, malign, and the race between them
    counting         how many neurons end up polysemantic
    winning          how often the initially largest weight wins
    plateau          why non-zeros stop falling: what orthogonality asks of the rows
    occupancy        which of the shared neurons had to be shared
    cooccurrence     when features that occur together leave a neuron that they share
    noise            noise in the hidden layer: the expected loss, and the paper's implicit term
    ledger           every claim of the paper with our verdict: `python -m theory` prints it

Throughout, `lam` is λ, `c` the strength of feature benefit (and of interference, unless `benefit`
and `interference` are given apart), times are flow time, and arguments broadcast where it is said.
"""

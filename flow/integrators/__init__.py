"""How one step is made: where W is stored, the field there, schemes, and the closed form."""

"""Closed forms and theorems about dW/dt = feature benefit - interference - lambda sign(W).

One file per result; every function states its equation, its assumptions and its order of
accuracy.  Nothing here simulates, and nothing here imports the simulator:

    sparsification   one encoding on its own: who dies when, how fast the l1 norm falls
    universal        the same for wide Gaussian starts: one curve, no constants
    unit_length      what reaching unit length costs
    equilibrium      where the flow can stop, and whether it stays there
    interference     what the other encodings do, at the start and by symmetry
    collisions       two features on one neuron: benign, malign, and the race between them
    counting         how many neurons end up polysemantic
"""

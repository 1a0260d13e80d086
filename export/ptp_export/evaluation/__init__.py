"""How good a bundle is for its task: fidelity to the teacher's own answer, beside image codecs at equal rate."""

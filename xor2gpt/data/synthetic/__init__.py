"""Sets that the course makes itself, so that every notebook runs with no network.

Does: coloured pictures (:mod:`~xor2gpt.data.synthetic.pictures`), a language whose entropy is
known exactly (:mod:`~xor2gpt.data.synthetic.grammar`), text messages
(:mod:`~xor2gpt.data.synthetic.messages`) and instructions with exact answers
(:mod:`~xor2gpt.data.synthetic.instructions`).
Does not: stand in for real data where a result is claimed: recipes use real sets.

Everything follows from a seed. Bytes are decided by integer arithmetic alone (numpy's PCG64,
integer tables, integer rasters), so that every machine makes the same set; tests pin sha256 sums.
"""

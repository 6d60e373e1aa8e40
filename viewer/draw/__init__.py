"""Drawing: samples, colours and summaries as pictures."""

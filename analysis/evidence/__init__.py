"""Evidence for a finding, beside that it stands apart: where, what, in whom, and whether copies made it."""

"""Several hosts, one judge: what hosts hand to whoever judges, and in which order it is judged."""

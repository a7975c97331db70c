"""Jobs and attempts: tables, the pure rules of their life, and the reconciliation that carries the rules out."""

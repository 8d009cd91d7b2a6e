"""The look-ahead audit: other futures for the same past, every stage compared."""

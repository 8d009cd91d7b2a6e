"""Bars on their way into the store: screened, compared with what is there, stored or refused."""

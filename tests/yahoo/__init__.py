"""A Yahoo on the loopback: the real yfinance client cannot tell it from Yahoo.

Prices are invented, but the same on every machine.  `faults.py` says what can go wrong,
`server.py` answers; `session.py` leads the product's own session here, and `proxy.py` a
whole process, by its environment alone.
"""

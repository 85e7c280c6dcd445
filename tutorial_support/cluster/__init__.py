"""Training on several processes. No lesson imports this package; only the programs ..._replicated
and extract do.
"""

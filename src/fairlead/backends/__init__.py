"""How nodes are reached: HTTP servers, programs, and one that is only simulated."""

"""A stand-in for the Kubernetes API server that kubectl and the Kubernetes client talk to over HTTP."""

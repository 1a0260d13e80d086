"""``ptp serve``: bundles behind the Open Inference Protocol (KServe v2), over HTTP and gRPC.

``requests`` says what comes and goes, whichever way it came; ``catalogue`` and ``model`` what is served; ``work`` who
works on it and when it is refused; ``http_*`` and ``grpc_*`` how it travels.
"""

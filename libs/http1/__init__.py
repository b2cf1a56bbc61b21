"""HTTP/1.1 for hot routes: a few microseconds per request, and any other request handed on.

A handler is a plain function that is called once a request is whole, and that answers through
a `Responder`, now or later. What no route takes goes, byte for byte, to another protocol.
"""

from libs.http1.limits import Limits
from libs.http1.messages import Handler, Refusal, Request
from libs.http1.responder import Responder
from libs.http1.server import HttpServer
from libs.http1.tls import TlsFiles

__all__ = ["Handler", "HttpServer", "Limits", "Refusal", "Request", "Responder", "TlsFiles"]

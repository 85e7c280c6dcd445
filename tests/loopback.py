"""A web server on loopback with the answers of a test."""

import contextlib
import http.server
import threading
import time


@contextlib.contextmanager
def serve(answers):
    """Serves `answers`, a dict from path to function of the handler; yields the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answers[self.path](self)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sends(body, status=200, announced=None):
    """Returns an answer with `body`; `announced` overrides the Content-Length."""

    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if announced is None else announced))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def trickles(body, pause):
    """Returns an answer that sends one byte of `body` at a time, `pause` seconds apart."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            for byte in body:
                handler.wfile.write(bytes([byte]))
                time.sleep(pause)

    return answer


def is_silent(handler):
    """An answer that never comes."""
    time.sleep(3)

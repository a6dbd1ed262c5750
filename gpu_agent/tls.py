"""Which certificate authorities the agent believes: the system's and certifi's, or those of SSL_CERT_FILE."""

import ssl

import certifi


def client_context() -> ssl.SSLContext:
    """A verifying context for every connection that the agent makes."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context

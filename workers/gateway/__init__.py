"""The front door: an HTTP API and a page, a thin face of `workers.client.Client`."""

"""The demo: a seller's day with the service, as it happens. It knows Meterhouse as strangers do, by its sockets."""

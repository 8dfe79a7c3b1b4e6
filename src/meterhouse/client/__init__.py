"""The client of the metering service, for AWS and for Meterhouse: typed, sync and async, one flow for both."""

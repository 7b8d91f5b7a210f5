"""What tests stand on: brokers, Prometheus and data, each started and ended by the tests alone."""

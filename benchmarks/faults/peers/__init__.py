"""Other tools on the benchmark's runs: attached to the same training, judged by the same facts. See PEERS.md."""

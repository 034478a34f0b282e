# `make run` shows the demo, `make test` proves that it works. Their recipes are one plain command each, so that make
# starts the script itself, without a shell between, and passes SIGTERM on to it.

.PHONY: help run test check web bench

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# make run     build both daemons, start them with demo data, print the address of the demo page; Ctrl-C stops all
run:
	@scripts/run

# make test    install what the tests need and run them all, on SQLite and on MariaDB
test:
	@scripts/test

# make bench   measure Chaffer beside its peers and write docs/benchmarks.md; WORDS=fanout runs one scenario alone
bench:
	@scripts/bench $(WORDS)

# make check   format, lints and unit tests
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace --lib --bins
	cd web && npm ci && npm run check

# make web     build the pages into web/dist
web:
	cd web && npm ci && npm run build

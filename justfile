# The few commands one needs. `just` lists them.

_default:
    @just --list --unsorted

# Format, lints, and the docs of the code
check:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

# Everything that can be tested on this machine
test *ARGS:
    cargo test --locked {{ARGS}}

# Everything, and it fails where something it needs is missing
test-all:
    BLACKOUT_REQUIRE_QEMU=1 BLACKOUT_REQUIRE_TUN=1 BLACKOUT_REQUIRE_LIBVIRT=1 cargo test --locked --no-fail-fast

# Take the screens as they are drawn now; read the difference before committing
snapshots:
    INSTA_UPDATE=always cargo test --locked --lib tui::
    git diff --stat -- '*.snap'

# Write what is generated from the code: the capture schema and its page
docs:
    BLACKOUT_WRITE_DOCS=1 cargo test --locked --lib event::schema

# Draw the pictures of the README anew
pictures:
    cargo build --release --locked
    screenshots/make target/release/blackout

# A static build, which runs in any x86-64 Linux guest; 'blackout agent --install' copies it there
agent:
    rustup target add x86_64-unknown-linux-musl
    cargo build --release --locked --target x86_64-unknown-linux-musl

# An archive and a Debian package of it, in dist/
release: agent
    .ci/package target/x86_64-unknown-linux-musl/release/blackout

# What CI runs
ci:
    .ci/run

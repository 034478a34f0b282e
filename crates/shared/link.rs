//! Part of both daemons' build scripts: how they are linked.

use std::process::Command;

/// Has a release build note where addresses are put right when the program starts with a bit each instead of 24 bytes: 1.5 MB less in
/// memory. It takes glibc 2.36 (Debian 12) to start such a program, and not mold, whose version in Debian 12 makes broken ones.
pub fn pack_relocations() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let is_meant = variable("PROFILE") == "release" && variable("TARGET") == variable("HOST");
    if is_meant && !variable("CARGO_ENCODED_RUSTFLAGS").contains("mold") && glibc() >= (2, 36) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of the C library here; low when it is another one.
fn glibc() -> (u32, u32) {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text =
        output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default();
    let mut numbers = text.trim().strip_prefix("glibc ").unwrap_or_default().split('.');
    let mut next = || numbers.next().and_then(|it| it.parse().ok()).unwrap_or_default();
    (next(), next())
}

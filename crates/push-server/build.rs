//! How the daemon is linked.

#[path = "../shared/link.rs"]
mod link;

fn main() {
    println!("cargo::rerun-if-changed=../shared/link.rs");
    link::pack_relocations();
}

//! How the daemon is linked, and what goes into it. The pages are built by `make web`; without them the API builds all the same and says so at `/demo`.

#[path = "../shared/link.rs"]
mod link;

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=../../web/dist");
    println!("cargo::rerun-if-changed=../../migrations");
    println!("cargo::rerun-if-changed=../shared/link.rs");
    link::pack_relocations();
    std::fs::create_dir_all("../../web/dist")
}

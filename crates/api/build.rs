//! The pages are built by `make web`; without them the API builds all the same and says so at `/demo`.

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=../../web/dist");
    println!("cargo::rerun-if-changed=../../migrations");
    // A bit for each address that is put right when the program starts, instead of 24 bytes: 1.5 MB less in memory.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    std::fs::create_dir_all("../../web/dist")
}

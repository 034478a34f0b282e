//! The pages are built by `make web`; without them the API builds all the same and says so at `/demo`.

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=../../web/dist");
    println!("cargo::rerun-if-changed=../../migrations");
    std::fs::create_dir_all("../../web/dist")
}

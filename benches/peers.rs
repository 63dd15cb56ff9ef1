//! `cargo bench -p cache-benches`. See `README.md`.

fn main() -> std::process::ExitCode {
    cache_benches::run(std::env::args().skip(1))
}

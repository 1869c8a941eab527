//! A thousand simulated hosts with fifty containers each against one real server in a process of its own: how much of the machine the
//! server takes, how much it sends, and how soon a change is known everywhere. The same with a quarter of the hosts shows what grows
//! with the cluster. `make bench-cluster`; `BENCH_HOSTS=250,1000` says how many.

mod figures;
mod frames;
mod host;
mod process;
mod run;
mod wire;

use std::error::Error;
use std::path::Path;

use figures::Figures;
use run::Sizes;

/// What can go wrong in a bench is told, and ends it.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let (_, most) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, most, most)?;
    if let Ok(store) = std::env::var(process::STORE) {
        return process::serve(Path::new(&store)).await;
    }
    // Cargo's `--bench` and a test runner's filters mean nothing here.
    let asked = std::env::var("BENCH_HOSTS").unwrap_or_else(|_| "250,1000".into());
    let mut all: Vec<Figures> = Vec::new();
    for hosts in asked.split(',') {
        let sizes = Sizes::of(hosts.trim().parse()?);
        all.push(run::run(sizes).await?);
        figures::table(&all);
    }
    println!("{}", serde_json::to_string(&all)?);
    figures::judge(&all)
}

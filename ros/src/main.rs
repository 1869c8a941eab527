//! `ros`: the command line of the host, and every in-house program, chosen by subcommand or by the name it is called by.
//!
//! This file is the edge: it reads the arguments, calls one function, prints the error chain once and exits with a truthful code.

mod cli;
mod cluster;
mod config;
mod dev;
mod env;
mod manager;
mod os;
mod outcome;
mod power;
mod programs;
mod service;
mod table;
mod tls;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = cli::complete() {
        return code;
    }
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    match cli::parse(&args) {
        Ok(command) => outcome::report(cli::run(command)),
        Err(error) => cli::usage_error(&error),
    }
}

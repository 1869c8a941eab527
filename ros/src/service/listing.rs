//! `ros service list` and `ps`: tables for people, JSON for programs.

use std::process::ExitCode;

use os_config::store;
use serde_json::{Value, json};
use system_services::manager::catalog::{Entry, Origin, entries};
use system_services::manager::control::Control;

use super::Format;
use crate::outcome::Outcome;
use crate::table::table;

const HEADER: [&str; 4] = ["Name", "Command", "State", "Ports"];

/// `ros service list`.
pub fn list(all: bool, format: Format) -> Outcome {
    let entries = entries(&store::load_running().config);
    let shown: Vec<Entry> = entries
        .into_iter()
        .filter(|entry| all || entry.origin != Origin::Shipped || !entry.enabled)
        .collect();
    match format {
        Format::Text => shown.iter().for_each(|entry| println!("{}", line(entry))),
        Format::Json => {
            let list: Vec<Value> = shown.iter().map(object).collect();
            println!("{:#}", json!(list));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A state column of eight characters, a blank, the name.
fn line(entry: &Entry) -> String {
    format!("{:8} {}", state(entry), entry.name)
}

fn state(entry: &Entry) -> &'static str {
    if entry.enabled { "enabled" } else { "disabled" }
}

fn object(entry: &Entry) -> Value {
    let origin = match entry.origin {
        Origin::Shipped => "shipped",
        Origin::Configured => "configured",
        Origin::Included => "included",
    };
    json!({"name": entry.name, "state": state(entry), "origin": origin})
}

/// `ros service ps`.
pub async fn ps(control: &Control, names: &[String], quiet: bool, format: Format) -> Outcome {
    let rows = control.rows(names).await?;
    match (quiet, format) {
        (true, Format::Text) => rows.iter().for_each(|row| println!("{}", row.id)),
        (true, Format::Json) => println!(
            "{:#}",
            json!(rows.iter().map(|row| &row.id).collect::<Vec<_>>())
        ),
        (false, Format::Text) => {
            let cells: Vec<[String; 4]> = rows
                .iter()
                .map(|row| [&row.name, &row.command, &row.state, &row.ports].map(String::clone))
                .collect();
            print!("{}", table(HEADER, &cells));
        }
        (false, Format::Json) => {
            let list = rows.iter().map(|row| {
                json!({"id": row.id, "name": row.name, "command": row.command, "state": row.state, "ports": row.ports})
            });
            println!("{:#}", json!(list.collect::<Vec<_>>()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_a_state_column_of_eight() {
        let entry = |name: &str, enabled| Entry {
            name: name.into(),
            enabled,
            origin: Origin::Configured,
        };
        assert_eq!(line(&entry("ntp", true)), "enabled  ntp");
        assert_eq!(line(&entry("web", false)), "disabled web");
    }
}

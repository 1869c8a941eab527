//! `ros service rm`: asks, removes, says what became of each service.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use system_services::manager::control::{Control, Error, Removed, Volumes};

use crate::outcome::Outcome;

/// Whether the person has said that it may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// By a flag. What runs is removed too.
    Given,
    /// Not yet. What runs is left alone.
    Asked,
}

/// Removes the containers of the named services.
pub async fn remove(
    control: &Control,
    names: &[String],
    consent: Consent,
    volumes: Volumes,
) -> Outcome {
    let targets = control.targets(names).await?;
    for name in names {
        if !targets.iter().any(|target| target.service == *name) {
            eprintln!("{name} has no container");
        }
    }
    if targets.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if consent == Consent::Asked {
        if let Some(running) = targets.iter().find(|target| target.running) {
            return Err(Error::Runs(running.service.clone()).into());
        }
        let names: Vec<&str> = targets
            .iter()
            .map(|target| target.service.as_str())
            .collect();
        if !agreed(&names, &mut io::stdin().lock())? {
            eprintln!("Nothing was removed");
            return Ok(ExitCode::FAILURE);
        }
    }
    for target in &targets {
        let name = &target.service;
        match control.remove(target, volumes).await? {
            Removed::Gone => {
                println!("{name} is removed, until `ros service up {name}` or the next boot")
            }
            Removed::Forgotten => println!("{name} is removed"),
            Removed::MadeAnew => {
                println!("{name} is made anew: nobody gets to this machine without it");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks. Only an answer that begins with y or Y is a yes.
fn agreed(
    names: &[&str],
    answers: &mut impl BufRead,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    print!("Going to remove {}\nAre you sure? [yN] ", names.join(", "));
    io::stdout().flush()?;
    let mut answer = String::new();
    if answers.read_line(&mut answer)? == 0 {
        return Err("nobody answers: `ros service rm -f` does not ask".into());
    }
    Ok(answer.starts_with(['y', 'Y']))
}

#[cfg(test)]
mod tests {
    use super::agreed;

    #[test]
    fn only_a_yes_is_a_yes() {
        let answer = |text: &str| agreed(&["web", "db"], &mut text.as_bytes());
        for yes in ["y\n", "Y\n", "yes\n"] {
            assert!(answer(yes).unwrap(), "{yes:?}");
        }
        for no in ["\n", "n\n", "no yes\n"] {
            assert!(!answer(no).unwrap(), "{no:?}");
        }
        let silence = answer("").unwrap_err().to_string();
        assert_eq!(silence, "nobody answers: `ros service rm -f` does not ask");
    }
}

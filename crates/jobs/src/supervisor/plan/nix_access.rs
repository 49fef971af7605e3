//! How nix reaches what is private: variables of the operator, and files with logins and tokens. Every user can read the
//! arguments of a process, and the agent's group can read the spec of a job. So nix gets all of it by its environment,
//! which is in neither of them, and of the files their names only.

use crate::settings::Rebuild;
use crate::spec::Secrets;

/// The variable with settings of nix. They take precedence over its files.
const NIX_CONFIG: &str = "NIX_CONFIG";

/// The variables of a program that evaluates or builds.
pub(super) fn variables(rebuild: &Rebuild) -> Secrets {
    let mut variables = rebuild.env.0.clone();
    let mut lines = Vec::new();
    if let Some(file) = &rebuild.netrc_file {
        lines.push(format!("netrc-file = {}", file.display()));
    }
    if let Some(file) = &rebuild.access_tokens_file {
        // With the mark a file that is missing is no error: the log of the job has a remark about it.
        lines.push(format!("!include {}", file.display()));
    }
    if !lines.is_empty() {
        lines.extend(variables.get(NIX_CONFIG).cloned());
        variables.insert(NIX_CONFIG.to_owned(), lines.join("\n"));
    }
    Secrets(variables)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{GIT, PLAIN, host};
    use super::*;
    use crate::supervisor::plan::plan;

    #[test]
    fn nix_gets_logins_and_tokens_by_its_environment_and_they_are_in_no_argument_and_no_file() {
        let host = host(&[PLAIN, |settings| {
            let variables =
                [("NIX_CONFIG", "access-tokens = git.example.org=s3cret"), ("GIT_SSH_COMMAND", "ssh -i /k")];
            settings.rebuild.env.0 =
                variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            settings.rebuild.netrc_file = Some("/run/secrets/netrc".into());
            settings.rebuild.access_tokens_file = Some("/run/secrets/tokens".into());
        }]);
        for command in ["switch", "pull-switch", "rollback", "update"] {
            let plan = plan(&host, command, &GIT).unwrap();
            let step = plan.steps.last().unwrap();
            assert_eq!(
                step.secrets.0["NIX_CONFIG"],
                "netrc-file = /run/secrets/netrc\n!include /run/secrets/tokens\naccess-tokens = git.example.org=s3cret",
                "{command}"
            );
            assert_eq!(step.secrets.0["GIT_SSH_COMMAND"], "ssh -i /k");
            let written =
                serde_json::to_string(&plan.steps).unwrap() + &format!("{step:?} {:?}", host.rebuild);
            assert!(!written.contains("s3cret") && !written.contains("netrc\n"), "{written}");
        }
        for command in ["pull", "test"] {
            let plan = plan(&host, command, &GIT).unwrap();
            assert!(
                plan.steps.iter().all(|step| step.secrets == Secrets::default()),
                "{command}: not for nix"
            );
        }
    }

    #[test]
    fn without_these_settings_nix_gets_nothing_more() {
        let plan = plan(&host(&[PLAIN]), "switch", &GIT).unwrap();
        assert_eq!(plan.steps[0].secrets, Secrets::default());
    }
}

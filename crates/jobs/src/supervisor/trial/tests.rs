use std::path::Path;

use super::*;

#[test]
fn a_system_is_built_in_the_folder_of_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let dir = crate::JobsDir::new(folder.path()).job(&crate::JobId::generate());
    let step = |name: &str| Step {
        name: name.to_owned(),
        argv: vec![name.to_owned()],
        cwd: None,
        env: Default::default(),
        secrets: Default::default(),
        user: None,
        activation: false,
        test: false,
    };
    let tried = Plan {
        steps: vec![step("fetch"), step("build")],
        untried: Some(Box::new(step("switch"))),
        ..Plan::default()
    };
    let plan = in_folder_of(&dir, tried);
    let folders: Vec<Option<&Path>> = plan.steps.iter().map(|step| step.cwd.as_deref()).collect();
    assert_eq!(folders, [None, Some(dir.path().join("system").as_path())]);
    prepare(&plan, &dir).unwrap();
    assert!(dir.path().join("system").is_dir());
    let plain = Plan { steps: vec![step("switch")], ..Plan::default() };
    assert_eq!(in_folder_of(&dir, plain).steps[0].cwd, None);
}

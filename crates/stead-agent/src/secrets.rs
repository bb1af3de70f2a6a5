//! What plans name and do not hold: values, releases, configurations.

use stead_core::plan::Plan;
use stead_wire::api::Refusal;

use crate::layout::Layout;

/// Why a plan is not to be taken that names what is not here. Reads folders.
pub(crate) fn lacking(layout: &Layout, plan: &Plan) -> Option<Refusal> {
    no_secret(layout, plan).or_else(|| nothing_packed(layout, plan))
}

fn nothing_packed(layout: &Layout, plan: &Plan) -> Option<Refusal> {
    let named = plan.instances.iter().flat_map(|(name, spec)| {
        let release = spec.release.iter().map(|digest| (layout.release(digest), "release"));
        let config = spec.config.iter();
        let config = config.map(|digest| (layout.packed_config(digest), "configuration"));
        release.chain(config).map(move |(path, noun)| (name, path, noun))
    });
    let (name, _, noun) = named.into_iter().find(|(_, path, _)| !path.is_dir())?;
    Some(Refusal {
        what: "the plan was not taken".into(),
        because: format!("the {noun} of `{name}` is not on this host"),
        try_this: "`stead deploy`, or `stead up`, which bring it along".into(),
    })
}

fn no_secret(layout: &Layout, plan: &Plan) -> Option<Refusal> {
    let secrets = plan.instances.values().flat_map(|spec| spec.secrets.values());
    let folder = layout.secrets();
    let missing = secrets.filter(|secret| !folder.join(secret.id.as_str()).is_file());
    let name = missing.map(|secret| &secret.name).next()?;
    Some(Refusal {
        what: "the plan was not taken".into(),
        because: format!("the value of the secret `{name}` is not on this host"),
        try_this: "`stead deploy`, or `stead up`, which bring it along".into(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use stead_core::plan::{Digest, SecretRef, Spec};

    use super::*;
    use crate::testing::{TempRoot, plan, spec};

    #[test]
    fn a_plan_is_taken_once_all_that_it_names_is_here() {
        let root = TempRoot::new("lacking");
        let layout = root.layout();
        let digest = |c: &str| Digest::try_from(c.repeat(64)).unwrap();
        let secret = SecretRef { name: "token".parse().unwrap(), id: digest("c") };
        let web = Spec {
            release: Some(digest("a")),
            config: Some(digest("b")),
            secrets: [("TOKEN".to_owned(), secret)].into(),
            ..spec(&["./web"])
        };
        let plan = plan([("web.0", web)]);
        let secret = layout.secrets().join(digest("c").as_str());
        let folders = [layout.release(&digest("a")), layout.packed_config(&digest("b"))];
        for (lacks, path) in [
            ("the value of the secret `token` is not", secret.clone()),
            ("the release of `web.0` is not", folders[0].clone()),
            ("the configuration of `web.0` is not", folders[1].clone()),
        ] {
            let refusal = lacking(&layout, &plan).unwrap();
            assert!(refusal.because.contains(lacks), "{refusal:?}");
            if path == secret {
                fs::create_dir_all(layout.secrets()).unwrap();
                fs::write(path, "hunter2").unwrap();
            } else {
                fs::create_dir_all(path).unwrap();
            }
        }
        assert!(lacking(&layout, &plan).is_none());
    }
}

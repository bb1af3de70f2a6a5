//! Keys that a host trusts. With any, it takes only plans that the holder of one of them has
//! signed, for this host and this very change, and only if each release that they name is on the
//! disk content for content.
//!
//! The keys stand in a file that whoever may become root there writes. A file that cannot be
//! understood trusts nobody.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use stead_core::plan::Plan;
use stead_release::release::Release;
use stead_release::sign::{TrustedKey, trusted_keys};
use stead_wire::api::{Refusal, Signed};

use crate::layout::Layout;

/// A plan that is to be taken.
pub(crate) struct Offered<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) signed: Option<&'a Signed>,
    /// What it must have been signed for.
    pub(crate) purpose: String,
    /// The plan that is there.
    pub(crate) now_has: Option<&'a Plan>,
}

/// Why a plan is not to be taken, if it is not. Reads files.
pub(crate) fn refuse(layout: &Layout, offered: &Offered<'_>) -> Option<Refusal> {
    let path = layout.trusted_keys();
    let keys = match fs::read_to_string(&path) {
        Ok(text) => trusted_keys(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(unreadable(&path, &error)),
    };
    match keys {
        Ok(keys) if keys.is_empty() => None,
        Ok(keys) => by_keys(&keys, offered).or_else(|| not_as_named(layout, offered.plan)),
        Err(why) => Some(unreadable(&path, &why)),
    }
}

/// Why the signature does not count.
fn by_keys(keys: &[TrustedKey], offered: &Offered<'_>) -> Option<Refusal> {
    let refused = |because: &str, try_this: &str| {
        Some(Refusal {
            what: "the plan was not taken".into(),
            because: because.into(),
            try_this: try_this.into(),
        })
    };
    let Some(signed) = offered.signed else {
        let because = "it is not signed, and this host takes only what a key has signed";
        return refused(because, "name the key as `signing_key` in the fleet file");
    };
    let Some(key) = keys.iter().find(|key| key.to_string() == signed.key) else {
        let because = "this host does not trust the key that has signed it";
        return refused(because, "`stead agent trust KEY` on the host, if it should");
    };
    if !key.verifies(&offered.purpose, &signed.text, &signed.signature) {
        let because = format!("its signature is not one of {}", offered.purpose);
        return refused(&because, "deploy again: what was sent was changed, or is an old one");
    }
    if serde_json::from_str::<Plan>(&signed.text).ok().as_ref() != Some(offered.plan) {
        return refused("what was signed is another plan", "deploy again");
    }
    let own = offered.now_has.map(|plan| (&plan.fleet, &plan.host));
    if own.is_some_and(|own| own != (&offered.plan.fleet, &offered.plan.host)) {
        let because = "it was signed for another host, or another fleet";
        return refused(because, "`stead down` on the host, before it becomes another one");
    }
    None
}

/// Which release is not what its name says.
fn not_as_named(layout: &Layout, plan: &Plan) -> Option<Refusal> {
    let releases = plan.instances.values().filter_map(|spec| spec.release.as_ref());
    let configs = plan.instances.values().filter_map(|spec| spec.config.as_ref());
    let releases = releases.map(|digest| (digest, layout.release(digest)));
    let configs = configs.map(|digest| (digest, layout.packed_configs().join(digest.as_str())));
    let all: BTreeSet<(_, PathBuf)> = releases.chain(configs).collect();
    all.into_iter().find_map(|(digest, folder)| {
        let why = match Release::stands(&folder, digest) {
            Ok(true) => return None,
            Ok(false) => "it holds something else".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(Refusal {
            what: "the plan was not taken".into(),
            because: format!("`{}` is not what its name says: {why}", folder.display()),
            try_this: "remove that folder and deploy again".into(),
        })
    })
}

fn unreadable(path: &std::path::Path, why: &dyn std::fmt::Display) -> Refusal {
    Refusal {
        what: "the plan was not taken".into(),
        because: format!("nobody is trusted, since `{}` cannot be read: {why}", path.display()),
        try_this: "mend the file: each line is a key, and a comment after it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{plan, spec};
    use stead_release::sign::SigningKey;

    fn signed(key: &SigningKey, purpose: &str, text: &str) -> Signed {
        Signed {
            text: text.to_owned(),
            key: key.public().to_string(),
            signature: key.sign(purpose, text),
        }
    }

    #[test]
    fn only_a_plan_that_a_trusted_key_has_signed_for_this_very_change_is_taken() {
        let [own, other] = [(); 2].map(|()| SigningKey::fresh().unwrap());
        let (keys, purpose) = ([own.public()], Signed::for_epoch(7));
        let meant = plan([("a.0", spec(&["x"]))]);
        let text = serde_json::to_string(&meant).unwrap();
        let good = signed(&own, &purpose, &text);
        let said = |signed: Option<&Signed>, plan: &Plan, now_has: Option<&Plan>| {
            let purpose = purpose.clone();
            by_keys(&keys, &Offered { plan, signed, purpose, now_has }).map(|it| it.because)
        };
        assert_eq!(said(Some(&good), &meant, None), None);
        assert_eq!(said(Some(&good), &meant, Some(&meant)), None);
        let swapped = plan([("a.0", spec(&["y"]))]);
        let elsewhere = Plan { host: "elsewhere".parse().unwrap(), ..meant.clone() };
        let by_other = signed(&other, &purpose, &text);
        let forged = Signed { key: own.public().to_string(), ..by_other.clone() };
        let old = signed(&own, &Signed::for_epoch(6), &text);
        let put = signed(&own, &Signed::for_generation(7), &text);
        for (signed, plan, now_has, why) in [
            (None, &meant, None, "not signed"),
            (Some(&by_other), &meant, None, "does not trust"),
            (Some(&forged), &meant, None, "not one of the plan of epoch 7"),
            (Some(&old), &meant, None, "not one of the plan of epoch 7"),
            (Some(&put), &meant, None, "not one of the plan of epoch 7"),
            (Some(&good), &swapped, None, "another plan"),
            (Some(&good), &meant, Some(&elsewhere), "another host"),
        ] {
            let said = said(signed, plan, now_has).unwrap_or_default();
            assert!(said.contains(why), "{said}, not {why}");
        }
    }
}

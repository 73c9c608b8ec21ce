//! Create body of a container: the decision of the policy, with the groups of granted
//! devices and the label of the signer.

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::{label, login};
use edge_docker_policy::cli::request::Request;
use edge_docker_policy::cli::users;
use edge_docker_policy::decide::{self, Plan};
use edge_docker_policy::refusal::refuse;
use edge_signature::Digest;

use crate::device_groups;
use crate::image::identify::Image;
use crate::mounts::{clones, env_file};
use crate::signed_app::SignedApp;
use crate::trust;

/// Compares requested with granted permissions, and adds the variables of `--env-file`
/// and the label of the signer. Returns the plan and the new key of its mount clones.
pub(crate) fn plan(root: &Root, mut request: Request, image: &Image) -> Result<(Plan, String)> {
    if request.body.user.is_empty() && users::is_login_user(&image.user) {
        return Err(refuse(format_args!(
            "USER {} of the image is refused: it is the user `{}` of this device, build the image \
             with another",
            image.user,
            login::NAME
        )));
    }
    let key = clones::new_key()?;
    let files = std::mem::take(&mut request.env_files);
    let mut read = Vec::new();
    for file in files {
        let variables = env_file::read(root, &image.identity.directory(), &file)?;
        read.push((file.after, variables));
    }
    let env = &mut request.body.env;
    *env = with_files(std::mem::take(env), read);
    let mut plan = without_groups(root, request, image, &key)?;
    device_groups::add(root, &mut plan.body.host_config);
    Ok((plan, key))
}

/// Returns the plan of an app's signed run specification with the mount clones of `key`,
/// before the groups of granted devices are added.
pub(crate) fn signed(root: &Root, app: &SignedApp, request: Request, key: &str) -> Result<Plan> {
    let mut plan = without_groups(root, request, &app.image, key)?;
    set_run(&mut plan, app.digest());
    Ok(plan)
}

/// Sets the label with the digest of the run specification that the plan is made from.
pub(crate) fn set_run(plan: &mut Plan, digest: Option<&Digest>) {
    let run = digest.map(|digest| (label::RUN.to_string(), digest.to_string()));
    plan.body.labels.extend(run);
}

fn without_groups(root: &Root, request: Request, image: &Image, key: &str) -> Result<Plan> {
    let granted = trust::grants(root)?.granted(&image.identity);
    let mut plan = decide::decide(request, &image.identity, &granted, &image.id, key)?;
    if let Some(verified) = &image.verified {
        // For operators and reports: no decision of edge-docker reads this label.
        let signer = verified.signer.clone();
        plan.body.labels.insert(label::SIGNER.into(), signer);
    }
    Ok(plan)
}

/// Adds the variables of files to those of `--env`. Of two variables of one name, the
/// engine takes the last one: those of docker's files come first, as with its client,
/// those of a unit's where it names the file.
fn with_files(mut env: Vec<String>, files: Vec<(Option<usize>, Vec<String>)>) -> Vec<String> {
    let (mut first, mut between) = (0, 0);
    for (after, variables) in files {
        let (place, count) = match after {
            None => (first, &mut first),
            Some(after) => (after + first + between, &mut between),
        };
        *count += variables.len();
        env.splice(place..place, variables);
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_unit_s_file_override_those_before_it() {
        let list = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let files = vec![
            (Some(1), list("B C")),
            (None, list("D E")),
            (Some(1), list("F")),
            (None, list("G")),
            (Some(2), list("H")),
        ];
        assert_eq!(with_files(list("A X"), files), list("D E G A B C F X H"));
        assert_eq!(with_files(list("A"), Vec::new()), list("A"));
    }
}

//! `run` and `create`: creation of a container from command-line arguments.
//!
//! The arguments are parsed into a request, the image is identified by its signature, and
//! the policy builds a plan from the request and the grants of that identity. Then the
//! mounts are cloned and the create request is sent to the engine. `run` also starts the
//! container and, unless detached, stays attached until the container ends.

use std::process::ExitCode;

use anyhow::{Context, Result};
use edge_common::contract::label;
use edge_common::{Root, log};
use edge_docker_policy::cli::levels::{self, SignedForm};
use edge_docker_policy::cli::request::{self, Request};
use edge_docker_policy::cli::streams::Streams;
use edge_docker_policy::cli::users;
use edge_docker_policy::decide::Plan;
use edge_docker_policy::grants;
use edge_docker_policy::mounts::CloneRecord;
use edge_docker_policy::refusal::refuse;
use edge_docker_policy::run_spec::{RunSpec, StorageOwner};
use edge_signature::Verified;
use serde_json::{Value, json};

use crate::break_glass::{self, Change};
use crate::engine::{self, attach, client, containers};
use crate::image::identify::{self, Image};
use crate::image::release_numbers;
use crate::ledger::Decision;
use crate::mounts::content::{Pass, Reason};
use crate::mounts::{clones, collect, owners};
use crate::plan;
use crate::signed_app::{self, SignedApp};
use crate::stored::{app_limits, created, damage};
use crate::trust::{self, Trust};
use crate::units;

/// Container that the engine has created and not yet started.
pub(crate) struct Created {
    /// Container ID from the engine's response.
    pub(crate) id: String,
    has_clones: bool,
}

/// Container that the policy permits and that is not yet created.
pub(crate) struct Permitted {
    image: Image,
    /// Image reference as typed, for the ledger.
    reference: String,
    /// Value of `--name`; if it is empty, the engine chooses a name.
    name: String,
    plan: Plan,
    /// Key of the container's mount clones: 32 random hex digits.
    key: String,
    /// Value of `--allow-downgrade`.
    allow_downgrade: bool,
}

/// Manner in which `run` starts a container.
struct Start {
    /// In the background.
    detach: bool,
    /// Streams to attach otherwise.
    streams: Streams,
    /// Removal of the container at its end (`--rm`).
    removed: bool,
}

impl Start {
    fn of(request: &Request) -> Self {
        Self {
            detach: request.detach,
            streams: request.streams,
            removed: request.body.host_config.auto_remove,
        }
    }
}

/// Carries out `run`: creates and starts a container and, unless it starts in the
/// background, attaches to it. Returns the exit code of the container, or 0 in the
/// background.
pub(crate) async fn run(root: &Root, args: &[&str]) -> Result<ExitCode> {
    let trust = trust::load(root)?;
    if let Some(form) = levels::signed_form(args, trust.run) {
        return run_signed(root, &trust, form).await;
    }
    let request = request::parse(args)?;
    let manner = Start::of(&request);
    let permitted = permit(root, request).await?;
    start(root, &permitted, &manner).await
}

/// Starts an app by its signed run specification. A container of the same version that
/// exists is started again.
async fn run_signed(root: &Root, trust: &Trust, form: SignedForm<'_>) -> Result<ExitCode> {
    if form.force {
        return Err(refuse("--force belongs to replace"));
    }
    if form.set.is_some() {
        return Err(refuse("--set belongs to replace and pull"));
    }
    let app = SignedApp::find(root, trust, &form).await?;
    if let Some(existing) = containers::find(root, &app.spec.app).await? {
        app.require_same(&existing)?;
        if !existing.state.running {
            let judged = identify::verified(root, trust, "run", &existing.id).await?;
            damage::require_intact(root, "run", &app.spec.app, &existing.image)?;
            break_glass::change(root, &judged.found, Change::State)?;
            let decision = Decision {
                verb: "run",
                image: &app.reference,
                identity: Some(&app.image.identity),
                container: &app.spec.app,
                ..Decision::default()
            };
            decision.record(root)?;
            attach::start(root, &existing.id).await?;
            accept(root, judged.verified.as_ref(), false);
        }
        units::update(root, &app.spec.app).await;
        println!("{}", existing.id);
        return Ok(ExitCode::SUCCESS);
    }
    let mut request = app.request(root, form.detach)?;
    request.allow_downgrade = form.allow_downgrade;
    let (manner, name) = (Start::of(&request), app.spec.app.clone());
    let code = start(root, &permit_signed(root, app, request)?, &manner).await?;
    units::update(root, &name).await;
    Ok(code)
}

async fn start(root: &Root, permitted: &Permitted, manner: &Start) -> Result<ExitCode> {
    let (detach, streams, removed) = (manner.detach, manner.streams, manner.removed);
    let created = permitted.create(root, "run").await?;
    if detach {
        attach::start(root, &created.id).await?;
        app_limits::end_start(
            root,
            &json!({ "Config": { "Labels": permitted.plan.body.labels } }),
        );
        permitted.accept(root);
    }
    if detach || !(streams.stdout || streams.stderr) {
        println!("{}", created.id);
    }
    if detach {
        return Ok(ExitCode::SUCCESS);
    }
    let accept = || permitted.accept(root);
    let result = attach::run(root, &created.id, streams, removed, accept).await;
    // A container with --rm no longer exists, so its clones are removed. If the caller
    // only detached from it, it still runs, and the collection keeps its clones.
    if created.has_clones && removed {
        collect::collect(root).await?;
    }
    result
}

/// Carries out `create`: creates a container without starting it, and prints its ID.
pub(crate) async fn create(root: &Root, args: &[&str]) -> Result<()> {
    let permitted = permit(root, request::parse(args)?).await?;
    let id = permitted.create(root, "create").await?.id;
    if let (true, Some(verified)) = (permitted.allow_downgrade, &permitted.image.verified) {
        let annotations = &verified.annotations;
        release_numbers::allow(root, &annotations.app, annotations.release_number)?;
    }
    println!("{id}");
    Ok(())
}

/// Identifies the image of a request with typed options, pulls it if necessary, and
/// returns the container that the policy permits, or the refusal.
pub(crate) async fn permit(root: &Root, request: Request) -> Result<Permitted> {
    let trust = trust::load(root)?;
    // Before the image, which may be a pull of minutes.
    signed_app::require_typed_run(root, &trust, None)?;
    if request.never_pull {
        identify::require_local(root, &trust, &request.image).await?;
    }
    let image = identify::find(root, &trust, &request.image, request.allow_downgrade).await?;
    signed_app::require_typed_run(root, &trust, Some(&image))?;
    let mut permitted = permitted(root, image, request)?;
    let host = serde_json::to_value(&permitted.plan.body.host_config);
    let held = grants::held(&host.context("writing the create body")?);
    signed_app::require_no_grants(root, &permitted.image, &held)?;
    permitted.mark()?;
    Ok(permitted)
}

/// Returns the container of a signed run specification.
pub(crate) fn permit_signed(root: &Root, app: SignedApp, request: Request) -> Result<Permitted> {
    let digest = app.digest().cloned();
    let mut permitted = permitted(root, app.image, request)?;
    plan::set_run(&mut permitted.plan, digest.as_ref());
    permitted.mark()?;
    Ok(permitted)
}

fn permitted(root: &Root, image: Image, request: Request) -> Result<Permitted> {
    let (name, reference) = (request.name.clone(), request.image.clone());
    let allow_downgrade = request.allow_downgrade;
    let (plan, key) = plan::plan(root, request, &image)?;
    Ok(Permitted {
        image,
        reference,
        name,
        plan,
        key,
        allow_downgrade,
    })
}

impl Permitted {
    /// Returns the name of the app, from the identity of the image.
    pub(crate) fn app(&self) -> &str {
        self.image.identity.app()
    }

    /// Returns the version of the app from the verified signature; `None` for a sandbox app.
    pub(crate) fn version(&self) -> Option<&str> {
        let verified = self.image.verified.as_ref()?;
        Some(&verified.annotations.version)
    }

    /// Returns the create request, as it is sent to the engine.
    pub(crate) fn body(&self) -> Result<Value> {
        serde_json::to_value(&self.plan.body).context("writing the create body")
    }

    /// Returns the key of the mount clones and their record.
    pub(crate) fn mounts(&self) -> (&str, CloneRecord) {
        (&self.key, self.clone_record())
    }

    fn clone_record(&self) -> CloneRecord {
        CloneRecord {
            directory: self.image.identity.directory(),
            below: self.plan.below.clone(),
        }
    }

    /// Marks a container that needs a ticket, which removes it when it ends. Refuses it if
    /// the ticket is another app's.
    fn mark(&mut self) -> Result<()> {
        let Some(ticket) = break_glass::in_use() else {
            return Ok(());
        };
        break_glass::require_app(self.app())?;
        let labels = &mut self.plan.body.labels;
        labels.insert(label::TICKET.into(), ticket.id);
        Ok(())
    }

    /// Returns the image of the container.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// Accepts the release number of a container that runs already, and records the command
    /// if that is a change.
    pub(crate) fn accept_running(&self, root: &Root) -> Result<()> {
        let verified = self.image.verified.as_ref();
        if self.allow_downgrade || verified.is_some_and(|v| release_numbers::is_higher(root, v)) {
            let decision = Decision {
                verb: "replace",
                image: &self.reference,
                identity: Some(&self.image.identity),
                container: self.app(),
                ..Decision::default()
            };
            decision.record(root)?;
            self.accept(root);
        }
        Ok(())
    }

    /// Accepts the release number of a container of no deployment, which has started.
    fn accept(&self, root: &Root) {
        accept(root, self.image.verified.as_ref(), self.allow_downgrade);
    }

    /// Clones the mounts, records the permitted command `verb`, and sends the create request
    /// to the engine.
    pub(crate) async fn create(&self, root: &Root, verb: &str) -> Result<Created> {
        damage::require_intact(root, verb, &self.reference, &self.image.id)?;
        // Without this lock, a collection in another process would remove the clones,
        // because no container references them yet.
        let _lock = collect::hold(root)?;
        // Nor may the ticket end in between: its end would not see the container.
        let _ticket = break_glass::hold(root)?;
        created::require_room(root)?;
        let has_clones = !self.plan.below.is_empty();
        if has_clones {
            self.clone_mounts(root).await?;
        }
        let decision = Decision {
            verb,
            image: &self.reference,
            identity: Some(&self.image.identity),
            container: &self.name,
            ..Decision::default()
        };
        // Recorded after cloning, the last step that may refuse, and before the create
        // request, so that no container exists without a record.
        let id = match decision.record(root) {
            Ok(()) => self.send(root).await,
            Err(error) => Err(error),
        };
        if has_clones && id.is_err() {
            clones::remove(root, &self.key)?;
        }
        let id = id?;
        // A deployment does both when the old container, which may have another user and
        // limit, has stopped.
        if verb != "replace" {
            app_limits::apply(root, &id).await;
        }
        if has_clones && verb != "replace" {
            let record = self.clone_record();
            // Only a warning: the container exists, and a program that exchanges its
            // directory at this moment has itself to blame.
            if let Err(error) = self.give_mounts(root, &id, record).await {
                log::warn(format_args!("{error:#}"));
            }
        }
        Ok(Created { id, has_clones })
    }

    /// Gives the mounts to the user of the container, and what is below them if the signed
    /// specification says so.
    async fn give_mounts(&self, root: &Root, id: &str, record: CloneRecord) -> Result<()> {
        owners::give_to(root, id, self.user(), &record).await?;
        let run = self.image.verified.as_ref().and_then(|v| v.run.as_deref());
        let is_signed = self
            .plan
            .body
            .labels
            .get(label::RUN)
            .is_some_and(|run| !run.is_empty());
        let spec = run.filter(|_| is_signed).map(RunSpec::parse).transpose()?;
        if spec.is_none_or(|spec| spec.storage_owner != StorageOwner::App) {
            return Ok(());
        }
        match owners::content_of(root, id, self.user(), record).await? {
            Some(content) => {
                content.give(Reason::Signed, Pass::Last, &|text| log::info(text), &|| {
                    false
                })
            }
            None => Ok(()),
        }
    }

    /// Returns the user of the container, `USER[:GROUP]`; empty for root.
    fn user(&self) -> &str {
        let own = Some(&self.plan.body.user).filter(|user| !user.is_empty());
        own.unwrap_or(&self.image.user)
    }

    async fn clone_mounts(&self, root: &Root) -> Result<()> {
        // In another mount namespace than the engine's, the clones would be invisible to
        // the engine, which would mount the empty directories below them.
        client::require_same_mounts(root).await?;
        let record = self.clone_record();
        // A missing directory is created for the user of the container if that is
        // numeric, otherwise with the owner of the app's directory.
        let owner = users::owner(self.user());
        clones::create(root, &self.key, &record, owner, is_durable(&self.plan))
    }

    async fn send(&self, root: &Root) -> Result<String> {
        let body = &self.plan.body;
        let has_start_interval = body.has_start_interval();
        let body = serde_json::to_vec(body).context("writing the create body")?;
        let id = engine::create::container(root, &self.name, &body, has_start_interval).await?;
        // Written before the container is started, because the boot audit quarantines a
        // container without this record.
        created::write(root, &id, &body, is_durable(&self.plan))?;
        Ok(id)
    }
}

/// Returns whether records of the container must survive a power loss. With restart
/// policy `no` they need not: the engine does not start such a container at boot, and
/// syncing would take longer than the start of the container.
fn is_durable(plan: &Plan) -> bool {
    plan.body.host_config.restart_policy.name != "no"
}

/// Accepts the release number of a container that has started. An error is only logged:
/// the container runs, and the boot audit raises the floor from what has run.
fn accept(root: &Root, verified: Option<&Verified>, allow: bool) {
    let Some(annotations) = verified.map(|v| &v.annotations) else {
        return;
    };
    let (app, number) = (&annotations.app, annotations.release_number);
    if let Err(error) = release_numbers::raise(root, app, number, allow) {
        log::error(format_args!("release numbers of {app}: {error:#}"));
    }
}

//! What the fleet does when its workers report.

use std::sync::Arc;

use metrics::{counter, histogram};

use super::lifecycle::Happening;
use super::report::millis;
use super::{Fleet, WorkerState};
use crate::catalog::CatalogModel;
use crate::pool::{Instance, InstancePort};
use crate::telemetry as names;
use crate::units::{InstanceId, Timestamp, WorkerId};
use crate::worker::{ExitReason, Kill, LoadFault, WorkerCommand, WorkerEnd, WorkerEvent};

impl Fleet {
    /// Takes one report.
    pub fn handle(&mut self, event: WorkerEvent, now: Timestamp) {
        match event {
            WorkerEvent::Loaded { worker, took } => self.loaded(worker, took),
            WorkerEvent::InstanceReady { id, port } => self.ready(id, port, now),
            WorkerEvent::InstanceFailed { id, fault } => self.instance_failed(id, &fault, now),
            WorkerEvent::InstanceStopped { id } => {
                tracing::info!(instance = %id, "instance stopped");
                self.forget_instance(id);
            }
            WorkerEvent::Ended { worker, end } => self.ended(worker, &end, now),
        }
    }

    fn loaded(&mut self, id: WorkerId, took: std::time::Duration) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.state == WorkerState::Loading {
            worker.state = WorkerState::Loaded;
        }
        let (model, variant) = labels(&worker.model, worker.variant);
        tracing::info!(model, variant, worker = %id, took_ms = millis(took), "loaded");
        histogram!(names::LOAD_DURATION, "model" => model.clone(), "variant" => variant.clone()).record(took);
        count_load(&worker.model, worker.variant, "loaded");
    }

    fn ready(&mut self, id: InstanceId, port: Arc<dyn InstancePort>, now: Timestamp) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let identity = member.identity.clone();
        let (on_free, model) = (Arc::clone(&self.on_free), identity.model.clone());
        let on_free = Box::new(move || on_free(&model));
        let took = now.since(member.decided);
        tracing::info!(model = %identity.model, variant = %identity.variant_name, instance = %id,
            devices = %identity.devices, threads = member.threads, took_ms = millis(took), "instance ready");
        self.start_times.insert((identity.model.clone(), identity.variant, member.kind), took);
        histogram!(names::INSTANCE_START_DURATION, "model" => identity.model.to_string()).record(took);
        let instance = Arc::new(Instance::new(identity, member.slots, port, on_free));
        if member.life.take(Happening::Ready) {
            self.changed = true;
        } else {
            // It was told to leave while it was made.
            instance.drain();
        }
        member.instance = Some(instance);
        member.tell();
    }

    fn instance_failed(&mut self, id: InstanceId, fault: &LoadFault, now: Timestamp) {
        let Some(member) = self.members.get(&id) else { return };
        let identity = member.identity.clone();
        let reason = &fault.reason;
        tracing::error!(model = %identity.model, variant = %identity.variant_name, instance = %id, reason,
            "the instance failed");
        if let Some(instance) = &member.instance {
            instance.drain();
        }
        counter!(names::INSTANCE_FAILURES, "model" => identity.model.to_string(),
            "variant" => identity.variant_name.to_string())
        .increment(1);
        if member.instance.as_ref().is_none_or(|instance| instance.view(0).progress == 0) {
            self.setback(identity.worker, reason, fault.short_of_memory, false, now);
        }
        self.forget_instance(id);
    }

    /// Something failed in a worker: a fact about memory, or a setback.
    fn setback(&mut self, id: WorkerId, reason: &str, short_of_memory: bool, refused: bool, now: Timestamp) {
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.stale {
            // It says nothing about what stands in its place.
            return;
        }
        let (model, variant) = (&worker.model.policy.name, worker.variant);
        match worker.available.filter(|_| short_of_memory) {
            Some(available) => {
                self.setbacks.add_shortage(model, variant, (worker.devices, available), reason, now);
            }
            None => self.setbacks.add(model, variant, reason, refused, now),
        }
    }

    pub(super) fn cannot_spawn(
        &mut self,
        model: &Arc<CatalogModel>,
        variant: usize,
        error: &std::io::Error,
        now: Timestamp,
    ) {
        let reason = format!("cannot start a worker: {error}");
        let name = &model.variants[variant].name;
        tracing::error!(model = %model.policy.name, variant = %name, reason, "the load failed");
        count_load(model, variant, "failed");
        self.setbacks.add(&model.policy.name, variant, &reason, false, now);
    }

    fn forget_instance(&mut self, id: InstanceId) {
        let Some(member) = self.members.remove(&id) else { return };
        self.changed = true;
        // A worker without instances holds weights for nothing.
        let worker_id = member.identity.worker;
        let alone = self.members.values().all(|other| other.identity.worker != worker_id);
        if let Some(worker) = self.workers.get_mut(&worker_id)
            && alone
            && worker.state != WorkerState::Leaving
        {
            worker.state = WorkerState::Leaving;
            worker.handle.send(WorkerCommand::Unload);
        }
    }

    /// A worker is gone, and with it its instances.
    fn ended(&mut self, id: WorkerId, end: &WorkerEnd, now: Timestamp) {
        // Its last steps may be newer than the last look.
        self.note_achievements();
        let Some(worker) = self.workers.get(&id) else { return };
        let (model, variant) = labels(&worker.model, worker.variant);
        // One that was ended because it loaded too long is no longer in that state.
        let timed_out = matches!(end, WorkerEnd::Died(ExitReason::EndedByServer(Kill::LoadTimeout { .. })));
        let loading = timed_out || worker.state == WorkerState::Loading;
        match end {
            WorkerEnd::Unloaded => {
                tracing::info!(model, variant, worker = %id, "unloaded");
                counter!(names::UNLOADS, "model" => model, "variant" => variant).increment(1);
            }
            WorkerEnd::LoadFailed(LoadFault { reason, short_of_memory }) => {
                tracing::error!(model, variant, reason, "the load failed");
                count_load(&worker.model, worker.variant, "failed");
                self.setback(id, reason, *short_of_memory, true, now);
            }
            WorkerEnd::Died(reason) => {
                tracing::error!(model, variant, worker = %id, %reason, loading, "a worker died");
                counter!(names::WORKER_EXITS, "model" => model, "variant" => variant, "reason" => reason.name())
                    .increment(1);
                if loading {
                    count_load(&worker.model, worker.variant, "failed");
                }
                self.died(id, reason, loading, now);
            }
        }
        self.workers.remove(&id);
        let gone: Vec<InstanceId> =
            self.members.values().filter(|m| m.identity.worker == id).map(|m| m.identity.id).collect();
        for id in gone {
            let member = self.members.remove(&id);
            if let Some(instance) = member.and_then(|member| member.instance) {
                instance.drain();
            }
            self.changed = true;
        }
    }

    /// A death is a setback if nothing was achieved before; a worker that served and then died is replaced at once.
    fn died(&mut self, id: WorkerId, reason: &ExitReason, loading: bool, now: Timestamp) {
        let achieved = self.workers.get(&id).is_some_and(|worker| worker.achieved);
        let outside = matches!(
            reason,
            ExitReason::KilledFromOutside { .. } | ExitReason::EndedByServer(Kill::Shutdown)
        );
        if !achieved && (loading || !outside) {
            self.setback(id, &reason.to_string(), reason.short_of_memory(), false, now);
        }
    }
}

/// Names of a model and its variant, for metrics and logs.
fn labels(model: &CatalogModel, variant: usize) -> (String, String) {
    (model.policy.name.to_string(), model.variants[variant].name.to_string())
}

fn count_load(model: &CatalogModel, variant: usize, outcome: &'static str) {
    let (model, variant) = labels(model, variant);
    counter!(names::LOADS, "model" => model, "variant" => variant, "outcome" => outcome).increment(1);
}

//! What the fleet does when its workers report.

use std::sync::Arc;

use metrics::{counter, histogram};

use super::{Failure, Fleet, WorkerState, millis};
use crate::pool::{Instance, InstancePort};
use crate::telemetry as names;
use crate::units::{InstanceId, ModelName, Timestamp, WorkerId};
use crate::view::InstanceState;
use crate::worker::{WorkerCommand, WorkerEvent};

impl Fleet {
    /// Takes one report.
    pub fn handle(&mut self, event: WorkerEvent, now: Timestamp) {
        match event {
            WorkerEvent::Loaded { worker, took } => self.loaded(worker, took),
            WorkerEvent::LoadFailed { worker, reason } => self.worker_failed(worker, &reason, now),
            WorkerEvent::InstanceReady { id, port } => self.ready(id, port, now),
            WorkerEvent::InstanceFailed { id, reason } => self.instance_failed(id, &reason, now),
            WorkerEvent::InstanceStopped { id } => {
                tracing::info!(instance = %id, "instance stopped");
                self.forget_instance(id);
            }
            WorkerEvent::Unloaded { worker } => self.unloaded(worker),
        }
    }

    fn loaded(&mut self, id: WorkerId, took: std::time::Duration) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.state == WorkerState::Loading {
            worker.state = WorkerState::Loaded;
        }
        let (model, variant) = (worker.model.clone(), worker.variant);

        let name = self.variant_name(&model, variant);
        tracing::info!(%model, variant = name, worker = %id, took_ms = millis(took), "loaded");
        histogram!(names::LOAD_DURATION, "model" => model.to_string(), "variant" => name.clone())
            .record(took);
        Self::count_load(&model, name, "loaded");
    }

    fn worker_failed(&mut self, id: WorkerId, reason: &str, now: Timestamp) {
        let Some(worker) = self.workers.remove(&id) else { return };
        self.members.retain(|_, member| member.identity.worker != id);
        worker.handle.join();
        self.load_failed(&worker.model, worker.variant, reason, now);
    }

    pub(super) fn load_failed(&mut self, model: &ModelName, variant: usize, reason: &str, now: Timestamp) {
        let name = self.variant_name(model, variant);
        tracing::error!(%model, variant = name, reason, "the load failed");
        Self::count_load(model, name, "failed");
        self.note_failure(model, variant, reason, now);
    }

    fn note_failure(&mut self, model: &ModelName, variant: usize, reason: &str, now: Timestamp) {
        let failure =
            self.failures.entry((model.clone(), variant)).or_insert(Failure { at: now, in_a_row: 0 });
        failure.at = now;
        failure.in_a_row += 1;
        self.last_failure.insert(model.clone(), reason.to_owned());
    }

    fn count_load(model: &ModelName, variant: String, outcome: &'static str) {
        counter!(names::LOADS, "model" => model.to_string(), "variant" => variant, "outcome" => outcome)
            .increment(1);
    }

    fn ready(&mut self, id: InstanceId, port: InstancePort, now: Timestamp) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let identity = member.identity.clone();
        let (on_free, model) = (Arc::clone(&self.on_free), identity.model.clone());
        let on_free = Box::new(move || on_free(&model));
        let took = now.since(member.decided);
        tracing::info!(model = %identity.model, variant = %identity.variant_name, instance = %id,
            device = %identity.device, threads = member.threads, took_ms = millis(took), "instance ready");
        histogram!(names::INSTANCE_START_DURATION, "model" => identity.model.to_string()).record(took);
        member.instance = Some(Arc::new(Instance::new(identity, member.slots, port, on_free)));
        member.state = InstanceState::Ready;
        self.changed = true;
        // Only now is the variant known to work: weights can load where a context does not fit.
        let variant = (member.identity.model.clone(), member.identity.variant);
        self.failures.remove(&variant);
    }

    fn instance_failed(&mut self, id: InstanceId, reason: &str, now: Timestamp) {
        let Some(member) = self.members.get(&id) else { return };
        let identity = member.identity.clone();
        tracing::error!(model = %identity.model, variant = %identity.variant_name, instance = %id, reason,
            "the instance failed");
        if let Some(instance) = &member.instance {
            instance.drain();
        }
        counter!(names::INSTANCE_FAILURES, "model" => identity.model.to_string(),
            "variant" => identity.variant_name.to_string())
        .increment(1);
        self.note_failure(&identity.model, identity.variant, reason, now);
        self.forget_instance(id);
    }

    /// Removes an instance whose thread has ended; the last one takes its weights along.
    fn forget_instance(&mut self, id: InstanceId) {
        let Some(member) = self.members.remove(&id) else { return };
        self.changed = true;
        let worker_id = member.identity.worker;
        let alone = self.members.values().all(|other| other.identity.worker != worker_id);
        if let Some(worker) = self.workers.get_mut(&worker_id)
            && alone
            && worker.state != WorkerState::Unloading
        {
            worker.state = WorkerState::Unloading;
            worker.handle.send(WorkerCommand::Unload);
        }
    }

    fn unloaded(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.remove(&id) else { return };
        let variant = self.variant_name(&worker.model, worker.variant);
        tracing::info!(model = %worker.model, variant, worker = %id, "unloaded");
        counter!(names::UNLOADS, "model" => worker.model.to_string(), "variant" => variant).increment(1);
        worker.handle.join();
        self.members.retain(|_, member| member.identity.worker != id);
    }
}

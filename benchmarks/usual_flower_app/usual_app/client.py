"""A client that builds its model and loads its data in every message."""

from __future__ import annotations

import sys
from typing import Any

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from superb_ks.collaborator.shard_data import open_shard
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import Settings, tuning_named
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer

app = ClientApp()


def load(message: Message, context: Context) -> tuple[Any, Any, Settings]:
    """Return model, clips and settings."""
    run, node = context.run_config, context.node_config
    sys.path.insert(0, str(run["envoy-folder"]))
    from superb_shard_descriptor import SuperbShardDescriptor

    rank = f"{int(node['partition-id']) + 1}, {node['num-partitions']}"
    shard = SuperbShardDescriptor(rank, speakers=run["speakers"])
    settings = Settings(model="tiny", rounds=int(run["rounds"]), tuning=tuning_named(str(run["tuning"])))
    spec = ModelSpec.of(settings, shard.labels)
    model = spec.build()
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    return model, open_shard(shard, spec.feature_extractor()), settings


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on the client's clips."""
    model, clips, settings = load(message, context)
    number = int(str(message.content.config_records["config"]["server-round"])) - 1
    loss = local_trainer(model, clips["train"], settings, "cpu", number).train().training_loss
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(clips["train"])})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def validate(message: Message, context: Context) -> Message:
    """Score the model on the client's validation clips."""
    model, clips, _ = load(message, context)
    scores = evaluate(model, clips["val"], "cpu")
    metrics = MetricRecord({"accuracy": float(scores["accuracy"]), "num-examples": int(scores["clips"])})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)

"""The three tasks, as the first notebook writes them. The server sends this source to the clients."""

from torch.optim import AdamW

from superb_ks.settings import Settings
from superb_ks.training.arguments import RoundArguments
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import federated_cosine_schedule, round_seed
from superb_ks.training.trainer import RoundTrainer

settings = Settings()
recipe = settings.complete_recipe


def train(model, shard, device, optimizer, round_num):
    arguments = RoundArguments(
        own_device=device,
        num_train_epochs=recipe.epochs_per_round,
        per_device_train_batch_size=recipe.batch_size,
        max_grad_norm=1.0,
        seed=round_seed(settings.seed, round_num),
    )
    trainable = [p for p in model.parameters() if p.requires_grad]
    adamw = AdamW(trainable, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = federated_cosine_schedule(adamw, len(shard["train"]), settings, round_num)
    trainer = RoundTrainer(model, arguments, shard["train"], (adamw, schedule), settings)
    return {"loss": trainer.train().training_loss, "clips": len(shard["train"])}


def validate(model, shard, device):
    scores = evaluate(model, shard["val"], device)
    return {name: scores[name] for name in ("accuracy", "loss", "clips")}


def test(model, shard, device):
    return evaluate(model, shard["test"], device)

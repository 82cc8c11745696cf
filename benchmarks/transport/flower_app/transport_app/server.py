"""What the server does: federated averaging."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from transport_app.transport_job import EventLog, evaluate, random_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run all rounds."""
    settings = context.run_config
    log = EventLog(str(settings["events"]))
    model = random_model(str(settings["size"]), int(settings["seed"]))
    log.note("initial", value=evaluate(model))
    clients = int(settings["clients"])
    strategy = FedAvg(min_train_nodes=clients, min_evaluate_nodes=clients, min_available_nodes=clients)
    arrays = ArrayRecord(model.state_dict())
    strategy.start(grid=grid, initial_arrays=arrays, num_rounds=int(settings["rounds"]))
    log.note("strategy done")

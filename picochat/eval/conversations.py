"""Loss on the assistant's words of held-out conversations. B: rows of a batch, T: tokens of a row."""

import torch

from picochat.data.batch import IGNORE
from picochat.data.mixture import Dataset
from picochat.model.gpt import GPT
from picochat.tokenizer.conversation import Rendered


@torch.no_grad()
def answer_loss(
    model: GPT, conversations: Dataset[Rendered], *, max_tokens: int, tokens_per_batch: int = 4096
) -> float:
    """Return the mean negative log-likelihood in nats of the tokens the assistant has to produce.

    Conversations are taken in order until `max_tokens` are read; each is cut at the model's context.
    """
    chosen: list[Rendered] = []
    num_tokens = 0
    for index in range(len(conversations)):
        if num_tokens >= max_tokens:
            break
        chosen.append(conversations[index])
        num_tokens += len(chosen[-1].ids)
    chosen.sort(key=lambda rendered: len(rendered.ids))
    total, num_targets = 0.0, 0
    while chosen:
        length = min(len(chosen[-1].ids) - 1, model.config.sequence_len)
        num_rows = max(1, tokens_per_batch // length)
        rows, chosen = chosen[-num_rows:], chosen[:-num_rows]
        ids_BT = torch.zeros(len(rows), length, dtype=torch.long)
        targets_BT = torch.full((len(rows), length), IGNORE)
        for row, rendered in enumerate(rows):
            ids_T1 = torch.tensor(rendered.ids[: length + 1])
            mask_T = torch.tensor(rendered.mask[1 : length + 1])
            ids_BT[row, : len(ids_T1) - 1] = ids_T1[:-1]
            targets_BT[row, : len(mask_T)] = torch.where(mask_T, ids_T1[1:], IGNORE)
        nll_BT = model.loss_per_token(ids_BT.to(model.device), targets_BT.to(model.device))
        total += nll_BT.sum(dtype=torch.float64).item()
        num_targets += int((targets_BT != IGNORE).sum())
    return total / max(num_targets, 1)

"""Random damage to manifests: bytes, lines and structure, from a seed."""

from __future__ import annotations

import random

import yaml

WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tuning-phi-3
resource:
  instanceType: "Standard_NC24ads_A100_v4"
  labelSelector:
    matchLabels:
      app: tuning-phi-3
tuning:
  preset:
    name: phi-3-mini-128k-instruct
  method: qlora
  config: tuning-phi-3
  input:
    urls:
      - "https://example.com/data/train.json"
  output:
    image: "registry.example.com/adapters/phi-3:0.0.1" # where it goes
    imagePushSecret: push
"""
CONFIG_MAP = """# A tuning config — with a dash that is not ASCII
apiVersion: v1
kind: ConfigMap
metadata:
  name: tuning-phi-3
data:
  training_config.yaml: |
    training_config:
      # how the model is loaded
      ModelConfig:
        torch_dtype: "bfloat16"    # half
        local_files_only: true

      QuantizationConfig:
        load_in_4bit: true
        bnb_4bit_quant_type: "nf4"
        bnb_4bit_compute_dtype: "bfloat16"
        bnb_4bit_use_double_quant: true

      LoraConfig:
        r: 8
        lora_alpha: 8
        lora_dropout: 0.0
        target_modules:
          - "q_proj"      # query
          - "o_proj"

      TrainingArguments:
        output_dir: "/mnt/results"
        save_strategy: "epoch"
        per_device_train_batch_size: 2
        gradient_checkpointing_kwargs: {use_reentrant: false}
        learning_rate: 1e-4

      DataCollator:
        mlm: true

      DatasetConfig:
        shuffle_dataset: true
        train_test_split: 1
"""
MANIFESTS = (WORKSPACE, CONFIG_MAP, CONFIG_MAP + "---\n" + WORKSPACE)
_ODD = ["null", "~", "[]", "{}", "-1", "8.0", "1e400", "no", "'", '"', "*a", "&a x", "!!int 3", "<<: {}", "\t",
        "😀",         "{{ .Values.x }}", "|", ">", "? x", "- -", "0x1F", "2020-01-01",
        "%", "@", "`", "---", "...", ": ", "#"]  # fmt: skip


def mutate(seed: int) -> bytes:
    """Return one of the manifests with one to four random faults."""
    rng = random.Random(seed)
    text = rng.choice(MANIFESTS)
    for _ in range(rng.randint(1, 4)):
        text = rng.choice((_change_character, _change_line, _change_value, _change_structure))(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        position = rng.randrange(len(data) + 1)
        data = data[:position] + rng.randbytes(rng.randint(1, 4)) + data[position:]
    return data.replace(b"\n", b"\r\n") if rng.random() < 0.1 else data


def _change_character(rng: random.Random, text: str) -> str:
    position = rng.randrange(len(text) + 1)
    return (
        text[:position] + rng.choice(["", *_ODD, chr(rng.randrange(32, 0x2000))]) + text[position + rng.randint(0, 2) :]
    )


def _change_line(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    index = rng.randrange(len(lines))
    kind = rng.randrange(5)
    if kind == 0:
        del lines[index]
    elif kind == 1:
        lines.insert(index, lines[index])
    elif kind == 2:
        lines[index] = " " * rng.randint(0, 6) + lines[index]
    elif kind == 3:
        lines[index] = lines[index].lstrip()
    else:
        lines.insert(index, lines[rng.randrange(len(lines))])
    return "\n".join(lines)


def _change_value(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    index = rng.randrange(len(lines))
    key, colon, _ = lines[index].partition(": ")
    if colon:
        lines[index] = f"{key}: {rng.choice(_ODD)}"
    return "\n".join(lines)


def _change_structure(rng: random.Random, text: str) -> str:
    """Load the text, change one node anywhere in it, and dump it in a random style."""
    try:
        documents = list(yaml.safe_load_all(text))
        document = rng.choice(documents)
        _damage(rng, document, rng.randint(1, 4))
        style = rng.choice([None, '"', "'", ">", "|"])
        return yaml.dump_all(documents, default_style=style, allow_unicode=True, width=rng.choice([40, 10_000]))
    except Exception:  # the text is already damaged, and PyYAML may say so in many ways
        return text


def _damage(rng: random.Random, node: object, depth: int) -> None:
    if isinstance(node, dict) and node:
        key = rng.choice(list(node))
        if depth <= 1:
            node[key] = rng.choice([None, [], {}, 3.5, True, "x", {"a": {"b": 1}}, [1, "two"], 10**30])
        else:
            _damage(rng, node[key], depth - 1)
    elif isinstance(node, list) and node:
        node[rng.randrange(len(node))] = rng.choice([None, [], {}, 3.5, "x"])

"""LangChain's and LlamaIndex's usual question answering on a collection, with the course's two models, greedy, on the CPU.

Each function builds one pipeline and returns a callable from a question to its answer. "standard" is what the frameworks'
own tutorials do; "equalised" takes chunks and prompt from outside, so that only the plumbing differs. All share one loaded
language model; each framework opens the embedder's folder itself, since its embedding class takes a name only.

Run by hand, with a file of SQuAD's layout: python tests/benchmarks/rag_rivals.py FILE.json [questions]
"""

from __future__ import annotations

import copy
import math
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import pipeline

from memcourse import metrics, world
from memcourse.errors import CourseError
from memcourse.model import Embedder, Example, LanguageModel, completion_prompt, load_embedder, load_lm
from memcourse.model.catalog import locate
from memcourse.retrieval import sentences

Answer = Callable[[str], str]
Chunks = Callable[[], Sequence[tuple[str, str]]]  # (document id, text) of every chunk
# The instructions of LangChain's RAG tutorial in its order, worded here: use the context, admit, be concise
TUTORIAL_PROMPT = """You are an assistant that answers questions. Answer the question from the retrieved context below. \
If you don't know the answer, say that you don't know. Use at most three sentences and be concise.
Question: {question}\nContext: {context}\nAnswer:"""
STANDARD_ROOM = 64  # tokens of an answer in up to three sentences
NEEDED = {
    "langchain": ("langchain_core", "langchain_text_splitters", "langchain_huggingface"),
    "llama_index": ("llama_index.core", "llama_index.llms.huggingface", "llama_index.embeddings.huggingface"),
}


class Models(NamedTuple):
    """What every pipeline shares."""

    lm: LanguageModel
    embedder: Embedder
    max_new_tokens: int = 16


def langchain_standard(
    collection: world.Collection, models: Models, *, prompt: str = TUTORIAL_PROMPT, k: int = 4, chat: bool = False
) -> Answer:
    """LangChain's RAG tutorial: chunks of 1,000 characters that overlap by 200, the k best of them, one prompt.

    `prompt` has the fields {context} and {question}; `chat` puts it into the model's chat format (`ChatHuggingFace`).
    Raises CourseError, which names the packages, when LangChain isn't installed.
    """
    core, splitters, _ = _modules("langchain")
    documents = [core.documents.Document(document.text) for document in collection.documents]
    splitter = splitters.RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200)
    return _langchain(splitter.split_documents(documents), prompt, models, k=k, chat=chat)


def langchain_equalised(chunks: Chunks, template: str, models: Models, *, k: int = 3, joiner: str = "\n") -> Answer:
    """LangChain with the given chunks and prompt (fields {context} and {question}); stops at the first new line.

    `joiner` stands between two chunks in the context. Errors as in `langchain_standard`.
    """
    core, _, _ = _modules("langchain")
    documents = [core.documents.Document(text) for _, text in chunks()]
    return _langchain(documents, template, models, k=k, joiner=joiner, eos_token_id=line_ends(models.lm))


def llama_index_standard(collection: world.Collection, models: Models, *, chat: bool = False) -> Answer:
    """LlamaIndex's starter tutorial: `VectorStoreIndex.from_documents(...).as_query_engine()` with every default.

    `chat` as in `langchain_standard` (here it is `is_chat_model`, which also brings another prompt), errors too.
    """
    core, _, _ = _modules("llama_index")
    documents = [core.Document(text=document.text, id_=document.id) for document in collection.documents]
    index = core.VectorStoreIndex.from_documents(documents, embed_model=_embedding("llama_index", models.embedder.name))
    return _cut(index.as_query_engine(llm=_llama_index_llm(models, chat)).query)


def llama_index_equalised(chunks: Chunks, template: str, models: Models, *, k: int = 3, joiner: str = "\n") -> Answer:
    """LlamaIndex with the given chunks and prompt; arguments and errors as in `langchain_equalised`."""
    core, _, _ = _modules("llama_index")
    # "compact" joins chunks with an empty line and can't be told otherwise; it also formats the prompt without a context
    rejoin = {"context_str": lambda **given: given.get("context_str", "").replace("\n\n", joiner)}
    names = {"context_str": "context", "query_str": "question"}
    prompt = core.PromptTemplate(template, template_var_mappings=names, function_mappings=rejoin)
    nodes = [core.schema.TextNode(text=text) for _, text in chunks()]
    index = core.VectorStoreIndex(nodes, embed_model=_embedding("llama_index", models.embedder.name))
    llm = _llama_index_llm(models, eos_token_id=line_ends(models.lm))
    return _cut(index.as_query_engine(llm=llm, similarity_top_k=k, text_qa_template=prompt).query)


def line_ends(lm: LanguageModel) -> list[int]:
    """The ids of every token that ends an answer or holds a new line, so that generation stops there at no cost."""
    return sorted({*lm.stop_ids, *(i for i in range(len(lm.tokenizer)) if "\n" in lm.tokenizer.decode([i]))})


def first_line(text: str) -> str:
    """An answer without chat markup, a speaker's name before it, and whatever follows its first line."""
    bare = re.sub(r"<\|im_start\|>\w*|<\|[^|>]*\|>", "", text).strip()
    bare = re.sub(r"^(?:AI|Assistant|Answer|A):\s*", "", bare, flags=re.IGNORECASE)
    return bare.splitlines()[0].strip() if bare else ""


def _cut(ask: Callable[[str], Any]) -> Answer:
    return lambda question: first_line(str(ask(question)))


def _modules(framework: str) -> tuple[Any, ...]:
    """The framework's modules; none of them is a dependency of the course."""
    names = NEEDED[framework]
    try:
        found = all(find_spec(name) for name in names)
    except ModuleNotFoundError:  # find_spec imports the packages above a module
        found = False
    if not found:
        packages = " ".join(re.sub("[_.]", "-", name) for name in names)
        raise CourseError(f"This benchmark needs packages that are missing: run `python -m pip install {packages}`.")
    return tuple(import_module(name) for name in names)


@cache
def _embedding(framework: str, name: str) -> Any:
    """The framework's own embedding class on the course's embedder, loaded once."""
    folder, module = locate(name, "embedder"), _modules(framework)[2]
    if framework == "langchain":
        return module.HuggingFaceEmbeddings(model_name=folder, model_kwargs={"device": "cpu"})
    return module.HuggingFaceEmbedding(model_name=folder, device="cpu")


def _langchain(
    documents: list[Any], prompt: str, models: Models, *, k: int, joiner: str = "\n\n", chat: bool = False, **options: Any
) -> Answer:
    """Retriever, prompt, model and parser in one chain, as the tutorial writes it."""
    huggingface = _modules("langchain")[2]
    vectors, prompts, runnables, parsers = (
        import_module(f"langchain_core.{name}") for name in ("vectorstores", "prompts", "runnables", "output_parsers")
    )
    store = vectors.InMemoryVectorStore.from_documents(documents, _embedding("langchain", models.embedder.name))
    retrieve = store.as_retriever(search_kwargs={"k": k}) | (lambda found: joiner.join(d.page_content for d in found))
    # with the full text, the answer would begin with the whole prompt
    options |= {"return_full_text": False, "max_new_tokens": models.max_new_tokens, "do_sample": False}
    tokenizer = copy.deepcopy(models.lm.tokenizer)  # the pipeline sets its padding side
    generate = pipeline("text-generation", model=models.lm.model, tokenizer=tokenizer, **options)
    llm = huggingface.HuggingFacePipeline(pipeline=generate)
    template = (prompts.ChatPromptTemplate if chat else prompts.PromptTemplate).from_template(prompt)
    speaker = huggingface.ChatHuggingFace(llm=llm, tokenizer=tokenizer) if chat else llm
    asked = {"context": retrieve, "question": runnables.RunnablePassthrough()}
    return _cut((asked | template | speaker | parsers.StrOutputParser()).invoke)


def _llama_index_llm(models: Models, chat: bool = False, **options: Any) -> Any:
    return _modules("llama_index")[1].HuggingFaceLLM(
        model=models.lm.model, tokenizer=models.lm.tokenizer, context_window=models.lm.window,
        max_new_tokens=models.max_new_tokens, is_chat_model=chat, generate_kwargs={"do_sample": False, **options},
    )  # fmt: skip


def rivals(
    collection: world.Collection, chunks: Chunks, template: str, models: Models, *, joiner: str = "\n", plain: bool = True
) -> dict[str, Answer]:
    """Every pipeline by its name, ready to answer; `plain` says whether to build the standard ones without chat format too.

    The standard ones may write longer answers, since their prompts ask for sentences.
    """
    longer = models._replace(max_new_tokens=STANDARD_ROOM)
    formats = {", chat format": True} | ({"": False} if plain else {})
    return {
        "LangChain, equalised": langchain_equalised(chunks, template, models, joiner=joiner),
        "LlamaIndex, equalised": llama_index_equalised(chunks, template, models, joiner=joiner),
        **{
            f"LangChain, standard{name}": langchain_standard(collection, longer, chat=chat) for name, chat in formats.items()
        },
        **{
            f"LlamaIndex, standard{name}": llama_index_standard(collection, longer, chat=chat)
            for name, chat in formats.items()
        },
    }


class Row(NamedTuple):
    """One line of the table; the figures of each question, and those of each block of questions."""

    name: str
    said: list[str]
    asked: list[world.Question]
    seconds: list[float] | None = None  # a question, in each block
    recall: float | None = None

    def scores(self, metric: Callable[[str, Sequence[str]], float] = metrics.token_f1) -> np.ndarray:
        return np.array([metric(text, question.answers) for text, question in zip(self.said, self.asked, strict=True)])

    def line(self, against: Sequence[Row] = ()) -> str:
        """Its figures; against others, the first's F1 minus its own (paired), and its time over each other's."""
        f1, exact = metrics.bootstrap(self.scores()), self.scores(metrics.exact_match).mean()
        cells = [f"{self.name:34}{f1.n:5}  {f1.value:.3f} ({f1.low:.3f} to {f1.high:.3f})  {exact:.3f}"]
        cells.append(" " * 6 if self.recall is None else f"{self.recall:6.3f}")
        cells.append(f"{np.median(self.seconds):7.3f}" if self.seconds else " " * 7)
        if against:
            more = metrics.bootstrap(against[0].scores() - self.scores())
            cells.append(f"{more.value:+.3f} ({more.low:+.3f} to {more.high:+.3f})")
            cells += [f"{np.median(np.divide(self.seconds, other.seconds)):7.2f}" for other in against]
        return "  ".join(cells)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def interleaved(
    systems: Mapping[str, Callable[[list[str]], list[str]]],
    questions: Sequence[world.Question],
    block: int,
    until: float = math.inf,
) -> list[Row]:
    """Each system's answers and seconds, in blocks of questions that all answer in turn, another one first each time.

    No block begins that would end after `until` on the clock of `time.perf_counter`, but the first one does.
    """
    rows = {name: Row(name, [], [], []) for name in systems}
    for answer in systems.values():
        answer([questions[0].text])  # warms up
    longest = 0.0
    for start in range(0, len(questions), block):
        some, begun = questions[start : start + block], time.perf_counter()
        if start and begun + longest > until:
            break
        for name, row in rows.items():
            found, seconds = timed(partial(systems[name], [question.text for question in some]))
            row.said.extend(found)
            row.asked.extend(some)
            row.seconds.append(seconds / len(some))
        rows = dict([*list(rows.items())[1:], *list(rows.items())[:1]])
        longest = max(longest, time.perf_counter() - begun)
    return [rows[name] for name in systems]


def main(path: Path, n: int = 10) -> None:
    """One line for each pipeline, over n questions spread over the file."""
    torch.set_num_threads(2)
    collection = world.read_squad(path)
    asked = [question for question in collection.questions if question.answers]
    parts = [(d.id, part.text.strip()) for d in collection.documents for part in sentences(d.text)]
    examples = [Example("Who built the mill?", "Anna Reed", "The mill was built by Anna Reed in 1874.")]
    template = completion_prompt("{question}", passage="{context}", examples=examples)
    models = Models(load_lm(device="cpu", dtype="float32"), load_embedder(device="cpu"))
    compared = rivals(collection, lambda: parts, template, models)
    for row in interleaved(each(compared), asked[:: max(1, len(asked) // n)][:n], 1):
        print(row.line())


def each(pipelines: Mapping[str, Answer]) -> dict[str, Callable[[list[str]], list[str]]]:
    """The pipelines as systems that answer several questions, one at a time."""
    return {name: lambda texts, ask=ask: [ask(text) for text in texts] for name, ask in pipelines.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))

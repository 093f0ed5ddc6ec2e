"""Held-out problems before and after practice."""

from picochat.train.before_after import Beginning
from picochat.train.grpo import held_out_problems


def test_problems_are_judged_for_both_models(practise, problem_file):
    run = practise(eval_gsm8k=(str(problem_file),), eval_problems=5, lr=5e-3)
    problems = held_out_problems(run.options)
    assert [len(some) for some in problems.values()] == [5]
    beginning = Beginning(run)
    before = beginning.compare_problems(run, problems, max_tokens=8)
    assert before.step == 0
    assert before.before.tasks["gsm8k"].examples == before.now.tasks["gsm8k"].examples
    list(run)
    after = beginning.compare_problems(run, problems, max_tokens=8)
    assert after.step == run.trainer.steps
    assert after.before.tasks == before.before.tasks
    assert after.before.tasks["gsm8k"].examples != after.now.tasks["gsm8k"].examples
    assert [pair.gold for pair in after.pairs] == [problem.answer for problem in problems["gsm8k"]]
    assert [pair.question for pair in after.pairs] == [problem.question for problem in problems["gsm8k"]]
    # What validation measured is what the comparison says.
    accuracy = run.directory.rows("eval")[-1]["metrics"]["accuracy"]
    assert after.now.tasks["gsm8k"].value == accuracy

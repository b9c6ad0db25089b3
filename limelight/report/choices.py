"""Questions with four answers, of which the model finds one the likeliest (in the manner of the Language Model
Evaluation Harness, Gao et al., 2021)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """What is asked, the right answer, and wrong ones."""

    asks: str
    right: str
    wrong: tuple[str, str, str]

    @property
    def answers(self) -> tuple[str, ...]:
        """All of them, in an order that says nothing of which is right."""
        return tuple(sorted((self.right, *self.wrong)))


QUESTIONS = (
    Question("What is the capital of France?", "Paris", ("Madrid", "London", "Berlin")),
    Question("What do bees make?", "honey", ("milk", "wool", "bread")),
    Question("How many days are in a week?", "seven", ("five", "ten", "twelve")),
    Question("What colour is grass?", "green", ("purple", "orange", "black")),
    Question("What is the opposite of up?", "down", ("left", "fast", "inside")),
    Question("Where do fish live?", "in water", ("in trees", "in the sky", "in ovens")),
    Question("What do people use to cut paper?", "scissors", ("a spoon", "a pillow", "soap")),
    Question("What is ice made of?", "frozen water", ("hot sand", "melted iron", "dry wood")),
    Question("Which animal barks?", "a dog", ("a cow", "a snake", "a duck")),
    Question("What comes after Monday?", "Tuesday", ("Sunday", "Friday", "Saturday")),
    Question("Which season is the coldest?", "winter", ("summer", "spring", "autumn")),
    Question("What does a baker make?", "bread", ("shoes", "engines", "windows")),
    Question("What is used to open a locked door?", "a key", ("a plate", "a candle", "a sock")),
    Question("Where does the sun rise?", "in the east", ("in the west", "in the north", "in the south")),
    Question("What do we call a baby cat?", "a kitten", ("a puppy", "a calf", "a lamb")),
    Question("What does a doctor do?", "help sick people", ("fly planes", "bake cakes", "build houses")),
    Question("What is the past tense of go?", "went", ("goed", "gone to", "going")),
    Question("Which word means the same as big?", "large", ("tiny", "quiet", "narrow")),
    Question("Why do people carry umbrellas?", "to stay dry", ("to see better", "to run faster", "to eat soup")),
    Question("What happens to ice in the sun?", "It melts.", ("It grows.", "It burns.", "It sings.")),
    Question("Which of these can fly?", "an eagle", ("a whale", "a horse", "a tortoise")),
    Question(
        "What do plants need to grow?", "light and water", ("paint and glue", "salt and smoke", "coins and stamps")
    ),
    Question("How many legs does a spider have?", "eight", ("two", "three", "four")),
    Question("Which planet do we live on?", "Earth", ("Mars", "Venus", "Jupiter")),
)
"""Written for this; any pupil knows them, a network that has read little does not. One in four is right by chance."""

// Texts to begin with, each of which shows one thing. swapped: what the same button gives when it is chosen again.
export const EXAMPLES = [
  { name: "who is “it”?", text: "The cat sat on the mat because it was tired, so the", says: "a word that stands for another" },
  {
    name: "cat ⇄ mouse",
    text: "The cat chased the mouse, and the mouse ran away from the",
    swapped: "The mouse chased the cat, and the cat ran away from the",
    says: "the same words in another order mean something else; choose it again to swap them",
  },
  { name: "Mary and John", text: "Mary and John went to the shop. John gave a drink to", says: "whoever was not named twice" },
  { name: "France → Paris", text: "The capital of Germany is Berlin. The capital of France is", says: "something that the model knows" },
  { name: "a rhyme", text: "Twinkle, twinkle, little star, how I wonder what you", says: "a verse that everybody knows" },
  { name: "a question", text: "Why is the sky blue?", says: "an answer, where the model was made for talking", ask: true },
];
